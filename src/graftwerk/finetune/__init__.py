"""Fitting of pre-trained models to labeled data: classifiers and regressors, and their cost."""
