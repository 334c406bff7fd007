"""The small things that steer a frozen model; each is the frozen model itself at zero."""
