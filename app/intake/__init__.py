"""What comes in from elsewhere: exports, other systems' records, examinations, gateways."""
