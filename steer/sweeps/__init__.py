"""Many runs over a grid: cells, workers, dose curves, plots."""
