"""Edge devices and servers, one TOML file each: what costs are predicted from, and how to reach them."""
