"""The embedded world of rendered scenes, with room for depth, thermal, sound and overhead views."""
