"""Tests of two models on the same folds, frames or tasks: each with its null, and whether it holds it."""
