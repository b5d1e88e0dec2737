"""Links between device and server, one TOML file each: rates, round trip, price and radio power."""
