"""The reading room: one typed result, shown on the console and as one offline page."""
