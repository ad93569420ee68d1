"""What texts look like inside the model: means, moments, covariance, likelihood, logit lens."""
