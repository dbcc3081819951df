"""The device client, with real aiortc peers and a real HTTP server."""
