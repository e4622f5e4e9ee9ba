"""Identities out: policies, pseudonyms, dates, header rules, image metadata."""
