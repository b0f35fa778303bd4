"""Using a fine-tuned model on new images: `predictor` is the way in, `export` makes a folder that travels."""
