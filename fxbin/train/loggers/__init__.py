"""Where the metrics of a run go: `metrics.csv`, TensorBoard, Weights & Biases, MLflow."""
