"""What runs after the compiler: the device's executor, the wire protocol, and the cloud server."""
