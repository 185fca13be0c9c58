"""Every nn.Module."""
