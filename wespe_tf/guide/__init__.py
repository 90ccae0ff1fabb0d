"""The guide: a closed-form guess of the enhanced photo, fitted to the two folders."""
