"""JAX only: many steps in one compiled program."""
