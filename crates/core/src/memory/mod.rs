//! The memory broker: the executable specification of the contract.
