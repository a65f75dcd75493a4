"""Densities and what is made of them: p(x | z, y), p(z | y), the objectives."""
