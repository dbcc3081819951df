"""The HTTP and WebSocket surface of a node: calls, legs, events, WHIP and WHEP, health and the demo pages."""
