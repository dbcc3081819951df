/** The mini-program side of a call: a user who is called by devices and calls them. */
import voip from './sdk/wmpf-voip.js';
import { Account } from './ui/account.js';
import { startPage } from './ui/page.js';

const account = new Account('user', { id: 'mia', name: 'Mia', peer: 'device-1' });

startPage(account, ({ peer, video }) =>
  voip.callDevice({
    roomType: video ? 'video' : 'voice',
    sn: peer,
    modelId: 'demo',
    nickName: account.name,
  }),
);
