"""What an attacker wants: objectives to climb and tests of success."""
