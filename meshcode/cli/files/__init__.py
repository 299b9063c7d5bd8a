"""Declarative files: reading and writing them, and what the commands around them say."""
