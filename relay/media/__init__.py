"""The media plane: workers, the legs they hold, and the messages that reach them."""
