"""What an attacker wants: objectives to maximize and tests of success."""
