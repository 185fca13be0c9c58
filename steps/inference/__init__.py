"""What every verb that runs a model needs: a device, its share of the work, and what that costs."""
