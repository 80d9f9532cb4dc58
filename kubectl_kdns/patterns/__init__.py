"""Patterns worth a sentence in a stream of lookups: one small class each, with its help text and its fix."""
