"""Why a tunnel is down, from what both ends logged."""
