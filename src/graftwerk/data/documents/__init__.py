"""Text extraction from documents, in a sandboxed worker process."""
