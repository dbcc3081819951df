/** The call page: a user who is called by devices and calls them; opened by a push it is the device (ui/account.js). */
import { Account } from './ui/account.js';
import { startPage } from './ui/page.js';

startPage(new Account('user', { id: 'mia', name: 'Mia', peer: 'device-1' }));
