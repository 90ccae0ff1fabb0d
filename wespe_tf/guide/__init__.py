"""The guide: a guess of the enhanced photo. It is fitted to the two folders in closed form."""
