"""Device gateways: services that forward what members' devices send, and sign it."""
