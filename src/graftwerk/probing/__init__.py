"""Linear probes of latent codes and hidden layers, and interventions along them."""
