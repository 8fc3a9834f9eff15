"""What speaks gRPC for the lab: simulated devices, and a server to compare a cloud with."""
