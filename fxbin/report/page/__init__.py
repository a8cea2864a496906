"""`fxbin.write_report`: one self-contained HTML page about a model."""
