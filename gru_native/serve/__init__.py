"""``gru-native serve``: a model behind HTTP and WebSocket. Only the command imports it; it needs the extra `serve`."""
