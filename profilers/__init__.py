"""What a program costs on a device: measured by the runtime that ships, or predicted from figures."""
