"""Text out of documents, in a sandboxed worker process."""
