"""The front door: attack, defend and evaluate what a user holds in memory."""
