"""What adapters stand on: the interfaces between an event loop and a connection."""
