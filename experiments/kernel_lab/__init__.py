"""The laboratory of `jaxvae.kernels`: how far kernels and train steps are from the machine's limits."""
