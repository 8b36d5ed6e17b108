"""Audits of retrieval: images and captions are attacked, and all of them are searched anew."""
