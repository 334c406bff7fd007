"""Fitting of pre-trained models to labelled data: classifiers and regressors, and their cost."""
