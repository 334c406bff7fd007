"""Retrieval-augmented answers: prompt, citations, answerability, answer."""
