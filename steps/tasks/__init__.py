"""What a task is: its configuration, model, batches and loss."""
