"""JAX only: many steps in one compiled program, and steps that devices share."""
