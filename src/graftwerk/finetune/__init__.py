"""Labelled data and a pre-trained model in; a classifier or regressor out, and what it cost."""
