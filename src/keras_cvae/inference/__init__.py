"""Compiled steps on a trained model: draws, guidance, importance sampling."""
