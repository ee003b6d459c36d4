"""What the engine knows: rules, states and ports. No input or output, no third party, no clock."""
