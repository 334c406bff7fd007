"""Robot policies: a reaching task, episodes in LeRobot's layout, networks on a frozen encoder."""
