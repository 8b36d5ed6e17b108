"""A guard where others call it: the request of each, a verdict on its images, and the reply that it expects.

Every hook is closed where it cannot decide: an image that is a link, is too large or cannot be decoded is refused like
one that the guard rejects, and says why.
"""
