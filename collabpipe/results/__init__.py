"""What exists and whether it fits what the study asks for."""
