"""What a person who debugs a node wants to see of it: plain values, which JSON can hold. No secret is among them."""
