"""The ports of the domain, met by real systems. Families of adapters ignore one another."""
