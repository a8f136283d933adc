"""strongSwan: the ways of configuring it, and what each daemon says."""
